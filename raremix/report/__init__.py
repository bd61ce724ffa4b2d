"""The run as one HTML page that needs no network: sections from metrics and pictures, charts, the page around them."""
