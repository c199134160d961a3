"""Clients of protocols, for whoever asks a server: algorithms when planned, back-ends when run."""
