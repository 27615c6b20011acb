"""The page that trains: `convtimenet app`. The server side (`desk`, `routes`) and its child process
(`child`), which alone reads files and trains."""
