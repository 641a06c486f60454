"""The local driver: jobs run on this host, each in a directory of its own, and outlive the process that submits them.

In here: the driver, the files of a job and their locks, the shim process that runs one job. Not in here: isolation;
programs run as the user that runs the driver.
"""
