// A client that logs in over direct TLS (XEP-0368) with somebody else's SASL, and says what came of it.
//
//	login ADDRESS AUTHORITY DOMAIN USERNAME PASSWORD LIBRARY MECHANISM BINDING TLS
//
// It prints the mechanisms that the server offers, and then "success" or what the server answered.
package main

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"os"
	"regexp"
	"strings"
	"time"

	"github.com/xdg-go/scram"
	"mellium.im/sasl"
)

var (
	offer     = regexp.MustCompile(`<mechanism>([^<]*)</mechanism>`)
	content   = regexp.MustCompile(`>([^<>]*)</(challenge|success)>`)
	condition = regexp.MustCompile(`<failure[^>]*><([a-z-]+)`)
)

const ns = "urn:ietf:params:xml:ns:xmpp-sasl"

type stream struct {
	*tls.Conn
	heard string
}

// until reads up to an end that a pattern describes, and returns all that was read.
func (s *stream) until(pattern string) string {
	end := regexp.MustCompile(pattern)
	for {
		if at := end.FindStringIndex(s.heard); at != nil {
			said := s.heard[:at[1]]
			s.heard = s.heard[at[1]:]
			return said
		}
		part := make([]byte, 4096)
		n, err := s.Read(part)
		check(err)
		s.heard += string(part[:n])
	}
}

func (s *stream) open(domain string) string {
	fmt.Fprintf(s, "<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' to='%s' version='1.0'>", domain)
	return s.until("</stream:features>")
}

// conversation gives the client's messages, one for each of the server's.
type conversation func(challenge []byte) ([]byte, error)

func mellium(state tls.ConnectionState, user, password, mechanism string, offered []string) conversation {
	known := map[string]sasl.Mechanism{
		"PLAIN":              sasl.Plain,
		"SCRAM-SHA-1":        sasl.ScramSha1,
		"SCRAM-SHA-1-PLUS":   sasl.ScramSha1Plus,
		"SCRAM-SHA-256":      sasl.ScramSha256,
		"SCRAM-SHA-256-PLUS": sasl.ScramSha256Plus,
	}
	negotiator := sasl.NewClient(known[mechanism], sasl.TLSState(state), sasl.RemoteMechanisms(offered...),
		sasl.Credentials(func() (username, secret, identity []byte) {
			return []byte(user), []byte(password), nil
		}))
	return func(challenge []byte) ([]byte, error) {
		_, response, err := negotiator.Step(challenge)
		return response, err
	}
}

func xdg(state tls.ConnectionState, user, password, mechanism, binding string) conversation {
	known := map[string]scram.HashGeneratorFcn{
		"SCRAM-SHA-1": scram.SHA1, "SCRAM-SHA-256": scram.SHA256, "SCRAM-SHA-512": scram.SHA512,
	}
	client, err := known[strings.TrimSuffix(mechanism, "-PLUS")].NewClient(user, password, "")
	check(err)
	var talk *scram.ClientConversation
	switch binding {
	case "tls-exporter":
		data, err := scram.NewTLSExporterBinding(&state)
		check(err)
		talk = client.NewConversationWithChannelBinding(data)
	case "tls-server-end-point":
		data, err := scram.NewTLSServerEndpointBinding(&state)
		check(err)
		talk = client.NewConversationWithChannelBinding(data)
	case "another-channel":
		data := scram.ChannelBinding{Type: scram.ChannelBindingTLSExporter, Data: make([]byte, 32)}
		talk = client.NewConversationWithChannelBinding(data)
	case "advertised":
		talk = client.NewConversationAdvertisingChannelBinding()
	default:
		talk = client.NewConversation()
	}
	return func(challenge []byte) ([]byte, error) {
		response, err := talk.Step(string(challenge))
		return []byte(response), err
	}
}

func main() {
	address, authority, domain, user, password := os.Args[1], os.Args[2], os.Args[3], os.Args[4], os.Args[5]
	library, mechanism, binding, version := os.Args[6], os.Args[7], os.Args[8], os.Args[9]
	pem, err := os.ReadFile(authority)
	check(err)
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	config := &tls.Config{RootCAs: roots, ServerName: domain, NextProtos: []string{"xmpp-client"}}
	if version == "1.2" {
		config.MaxVersion = tls.VersionTLS12
	}
	connection, err := tls.Dial("tcp", address, config)
	check(err)
	check(connection.SetDeadline(time.Now().Add(20 * time.Second)))
	s := &stream{Conn: connection}
	var offered []string
	for _, each := range offer.FindAllStringSubmatch(s.open(domain), -1) {
		offered = append(offered, each[1])
	}
	fmt.Println(strings.Join(offered, " "))
	var next conversation
	if library == "mellium" {
		next = mellium(connection.ConnectionState(), user, password, mechanism, offered)
	} else {
		next = xdg(connection.ConnectionState(), user, password, mechanism, binding)
	}
	first, err := next(nil)
	check(err)
	fmt.Fprintf(s, "<auth xmlns='%s' mechanism='%s'>%s</auth>", ns, mechanism, encoded(first))
	for {
		said := s.until(`</(challenge|failure|success)>|<success[^>]*/>`)
		data, err := base64.StdEncoding.DecodeString(content.FindStringSubmatch(said + "></success>")[1])
		check(err)
		if strings.Contains(said, "<failure") {
			fmt.Println(condition.FindStringSubmatch(said)[1])
			return
		}
		if strings.Contains(said, "<success") {
			if len(data) > 0 {
				_, err := next(data) // the server knows the password, too
				check(err)
			}
			break
		}
		response, err := next(data)
		check(err)
		fmt.Fprintf(s, "<response xmlns='%s'>%s</response>", ns, encoded(response))
	}
	if !strings.Contains(s.open(domain), "urn:ietf:params:xml:ns:xmpp-bind") {
		check(fmt.Errorf("no resource can be bound"))
	}
	fmt.Println("success")
}

func encoded(data []byte) string {
	if len(data) == 0 {
		return "="
	}
	return base64.StdEncoding.EncodeToString(data)
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
