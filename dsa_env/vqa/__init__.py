"""Questions about pictures: written, read, judged, and answered from frozen features."""
