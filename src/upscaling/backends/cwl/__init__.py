"""Application packages through Toil or cwltool, on this machine or on a cluster."""
