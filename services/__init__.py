"""What the product does, as plain functions and objects: no HTTP and no Celery in sight."""
