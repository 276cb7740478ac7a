"""The whole service on one machine, without any set-up: broker, worker slots and API."""
