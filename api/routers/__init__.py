"""The routes, by what they are about: each validates, calls a service, and answers."""
