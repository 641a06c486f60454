"""What an operator installs: version, packages, image, chart, Nomad job, unit."""
