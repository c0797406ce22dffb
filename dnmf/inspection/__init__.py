"""Components, profiles and figures of factors."""
