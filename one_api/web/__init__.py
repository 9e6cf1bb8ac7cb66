"""The Flask side: routes, headers and error pages. The only place that knows HTTP requests."""
