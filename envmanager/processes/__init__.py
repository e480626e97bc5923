"""Other programs: started without a window, ended with all that they started."""
