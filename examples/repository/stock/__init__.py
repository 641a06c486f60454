"""Keeps a stock of goods and their prices."""
