package harbortest

import (
	"net/http"
)

func (x *exchange) ping([]string) answer { return text(http.StatusOK, "Pong") }

func (x *exchange) health([]string) answer {
	var components []map[string]string
	for _, name := range []string{"core", "database", "jobservice", "portal", "redis", "registry", "registryctl"} {
		components = append(components, map[string]string{"name": name, "status": "healthy"})
	}
	return show(map[string]any{"status": "healthy", "components": components})
}

// systemInfo shows little to who is not logged in, also with a wrong password.
func (x *exchange) systemInfo([]string) answer {
	info := map[string]any{
		"auth_mode": "db_auth", "banner_message": "", "external_url": x.base(), "has_ca_root": false, "oidc_provider_name": "",
		"primary_auth_mode": false, "self_registration": false,
	}
	if x.who.account != nil {
		info["current_time"] = timestamp(x.now())
		info["harbor_version"] = x.set.Version
		info["notification_enable"] = true
		info["project_creation_restriction"] = x.set.ProjectCreation
		info["read_only"] = x.set.ReadOnly
		info["registry_storage_provider_name"] = "filesystem"
		info["registry_url"] = x.r.Host
	}
	return show(info)
}

// currentUser is not for robots.
func (x *exchange) currentUser([]string) answer {
	who := x.who.account
	switch {
	case who == nil:
		return refuse(http.StatusUnauthorized, unauth)
	case who.robot:
		return refuse(http.StatusPreconditionFailed, problem{
			Code: "PRECONDITION", Message: "get current user not available for security context: robot",
		})
	}
	return show(map[string]any{
		"admin_role_in_auth": false, "creation_time": timestamp(x.now()), "email": who.Name + "@example.com", "realname": who.Name,
		"sysadmin_flag": who.admin, "update_time": timestamp(x.now()), "user_id": who.id, "username": who.Name,
	})
}

// gcSchedule answers nothing at all where nothing is scheduled (by Harbor's handler; not recorded).
func (x *exchange) gcSchedule([]string) answer {
	if !x.who.account.canInSystem(ReadGC) {
		return x.forbidden()
	}
	gc := x.set.GC
	if gc.Type == "" {
		return status(http.StatusOK, "Content-Type", "application/json")
	}
	parameters := marshal(map[string]any{"delete_untagged": gc.DeleteUntagged, "dry_run": false, "time_window": 2, "workers": 1})
	return show(map[string]any{
		"id": 1, "job_kind": gc.Cron, "job_parameters": string(parameters[:len(parameters)-1]), "deleted": false,
		"schedule":      map[string]any{"cron": gc.Cron, "type": gc.Type, "next_scheduled_time": timestamp(gc.Next)},
		"creation_time": timestamp(x.now()), "update_time": timestamp(x.now()),
	})
}

// quotas names the account in its refusal.
func (x *exchange) quotas([]string) answer {
	who := x.who.account
	if who == nil {
		return refuse(http.StatusUnauthorized, unauth)
	}
	if !who.canInSystem(ListQuotas) {
		return refuse(http.StatusForbidden, problem{Code: "FORBIDDEN", Message: who.Name})
	}
	var list []any
	query := x.r.URL.Query()
	for _, p := range x.projectsByName() {
		if id := query.Get("reference_id"); id != "" && id != itoa(p.id) {
			continue
		}
		list = append(list, map[string]any{
			"id": p.id, "ref": map[string]any{"id": p.id, "name": p.Name, "owner_name": ""},
			"hard": map[string]int64{"storage": p.limit()}, "used": map[string]int64{"storage": p.used()},
			"creation_time": timestamp(p.made), "update_time": timestamp(x.now()),
		})
	}
	return paged(x, list)
}
