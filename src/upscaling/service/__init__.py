"""The service: the APEx Dispatch API and an API of its own, over ordinary run folders."""
