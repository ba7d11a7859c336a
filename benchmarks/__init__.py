"""Scripts that measure and report; a package so that tests can import them."""
