"""The REST service: routers, schemas, errors and access rules over `services`."""
