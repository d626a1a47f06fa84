//! What ingress controllers must be told so that MCP streams pass: one file per controller, one table.
