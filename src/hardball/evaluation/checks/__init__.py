"""Does a robust accuracy mean what it says?"""
