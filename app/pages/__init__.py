"""The pages of the main window, one package or file each; imported at their first visit."""
