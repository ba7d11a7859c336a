"""Code that several operators share; each file names the operators that use it."""
