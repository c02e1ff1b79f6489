"""What a frozen model writes about pictures, with how much detail, and what that is worth."""
