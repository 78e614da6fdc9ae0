"""The methods that BC-CT is compared with, one file per method."""
