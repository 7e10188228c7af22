"""Tools for agents: an MCP server that runs commands, after a question where rules call for one."""
