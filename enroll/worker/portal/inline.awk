# Puts the files that index.html names in lines "@@NAME" into it, without their indentation: one page, one request.
/^@@/ {
	file = dir "/" substr($0, 3)
	n = 0
	while ((getline line < file) > 0) {
		sub(/^[ \t]+/, "", line)
		if (line ~ /<\/(script|style)|<!--/) {
			print file ": would end or open markup: " line > "/dev/stderr"
			exit 1
		}
		print line
		n++
	}
	if (n == 0) {
		print file ": cannot be read" > "/dev/stderr"
		exit 1
	}
	close(file)
	next
}
{ print }
