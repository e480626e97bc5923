"""Downloads of single files: resumed where they broke off, checked, and put in place whole."""
