"""Measurements that people can repeat on their own machine: `octvideo bench`."""
