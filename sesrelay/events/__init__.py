"""What happened, told to those who want to know: for now bounces, by mail to the envelope sender."""
