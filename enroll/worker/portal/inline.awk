# Puts the files that index.html names in lines "@@NAME" into it, without indentation, comments of whole lines and empty lines: one page, one
# request, as few bytes as a new connection may send at once.
/^@@/ {
	file = dir "/" substr($0, 3)
	n = 0
	while ((getline line < file) > 0) {
		sub(/^[ \t]+/, "", line)
		if (line ~ /<\/(script|style)|<!--/) {
			print file ": would end or open markup: " line > "/dev/stderr"
			exit 1
		}
		n++
		if (line ~ /^\/\*/)
			comment = 1
		if (!comment && line != "")
			print line
		if (comment && line ~ /\*\/$/)
			comment = 0
	}
	if (n == 0) {
		print file ": cannot be read" > "/dev/stderr"
		exit 1
	}
	if (comment) {
		print file ": a comment that begins a line must end one" > "/dev/stderr"
		exit 1
	}
	close(file)
	next
}
{ print }
