"""What operators do with a server as a whole: change it while it runs, copy it, examine it, end it."""
