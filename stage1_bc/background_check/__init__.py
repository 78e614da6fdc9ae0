"""What ``check-backgrounds`` examines in a folder of background images."""
