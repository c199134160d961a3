"""What goes over HTTP, and to object storage."""
