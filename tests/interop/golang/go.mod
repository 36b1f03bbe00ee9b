module jabberd/tests/login

go 1.24

require (
	github.com/xdg-go/scram v1.4.0
	mellium.im/sasl v0.3.2
)

require (
	github.com/xdg-go/stringprep v1.0.4 // indirect
	golang.org/x/crypto v0.27.0 // indirect
	golang.org/x/text v0.18.0 // indirect
)
