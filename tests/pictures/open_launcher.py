"""Starts a browser as the dispatcher does, but leaves it this machine's network: what is to be tried is another wall."""

from dispatcher.adapters import chromium_launcher

if __name__ == "__main__":
    chromium_launcher.leave_network = lambda: False
    chromium_launcher.main()
