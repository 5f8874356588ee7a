"""The host's end of the link: frames and the sliding-window protocol over any byte pipe."""
