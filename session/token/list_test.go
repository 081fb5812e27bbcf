package token

import "testing"

func TestUserList(t *testing.T) {
	for _, c := range []struct {
		topic, user string
		listed, has bool
	}{
		{"dialog", "42", false, false},
		{"dialog#42", "42", true, true},
		{"dialog#42,43", "43", true, true},
		{"dialog#42,43", "4", false, true},
		{"dialog#42,43", "42,43", false, true},
		{"dialog#42, 43", "43", false, true},
		{"dialog#", "42", false, false},
		{"dialog#", "", false, false},
		{"dialog#,", "", false, true},
		{"$a#42", "42", true, true},
		{"a#1#42", "1", false, true},
		{"a#1#42", "42", true, true},
		{"a#1#42", "1#42", false, true},
		{"#42", "42", true, true},
	} {
		if listed, has := userList(c.topic, c.user); listed != c.listed || has != c.has {
			t.Errorf("userList(%q, %q) = %t, %t", c.topic, c.user, listed, has)
		}
	}
}

// A list decides who may follow, read and publish, but for who has a right to that very topic.
func TestAListOfUsersIsARightAndABound(t *testing.T) {
	all, err := NewRights([]string{"*"}, []string{"*"})
	if err != nil {
		t.Fatal(err)
	}
	none, err := NewRights(nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	exact, err := NewRights([]string{"dialog#42,43"}, []string{"dialog#42,43"})
	if err != nil {
		t.Fatal(err)
	}
	named := none.with(&extra{named: []string{"dialog#42,43"}})
	capped := none.with(&extra{subscribe: anything, history: anything, publish: anything})
	for name, test := range map[string]struct {
		rights                *Rights
		user                  string
		follow, read, publish bool
	}{
		"listed, with all rights":     {all, "42", true, true, true},
		"listed, without any":         {none, "42", true, true, false},
		"not listed, with all rights": {all, "7", false, false, false},
		"nobody, in an open hub":      {Everything, "", false, false, false},
		"not listed, by a cap":        {capped, "7", false, false, false},
		"a right to the very topic":   {exact, "7", true, true, true},
		"one of the token's channels": {named, "7", true, true, false},
	} {
		const topic = "dialog#42,43"
		follow, read, publish := test.rights.MaySubscribe(test.user, topic), test.rights.MayReadHistory(test.user, topic), test.rights.MayPublish(test.user, topic)
		if follow != test.follow || read != test.read || publish != test.publish {
			t.Errorf("%s: follow %t, read %t, publish %t", name, follow, read, publish)
		}
	}
	if none.MaySubscribe("42", "$dialog#42") || all.MaySubscribe("42", "$dialog#42") {
		t.Error("a list opens a private topic")
	}
	if !all.MaySubscribe("42", "c#") {
		t.Error("a # at the end is no list")
	}
}
