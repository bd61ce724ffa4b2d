"""DreamBooth images of rare chest X-ray findings: do they train a better classifier than re-sampling does?"""
