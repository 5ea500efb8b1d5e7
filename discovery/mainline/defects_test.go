package mainline

func showDefect(string) {}
