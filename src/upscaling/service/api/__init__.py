"""The service's requests and answers: the Dispatch API, its own API, the page."""
