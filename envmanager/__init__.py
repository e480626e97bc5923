"""The engine: module environments, their workers, images, node scripts, and the command line."""
