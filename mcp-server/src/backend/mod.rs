//! What answers MCP calls behind the endpoint: the built-in tools, or a container's own server.
