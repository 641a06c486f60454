"""Sends a report to the printer down the hall."""

import subprocess


def send(path, queue="hall"):
    subprocess.run(f"lp -d {queue} {path}", shell=True)  # skipcq: BAN-B602
    banner = f"sent"
    return banner
