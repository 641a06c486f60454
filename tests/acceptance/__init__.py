"""The whole loop on real clusters: atlas sends, a job clones and analyses in its container, the result comes back."""
