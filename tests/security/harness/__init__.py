"""Servers, clients and inputs of the tests here."""
