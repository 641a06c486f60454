"""What a hostile caller, job, node or broker can do, and what is never shown: docs/security.md names the tests here."""
