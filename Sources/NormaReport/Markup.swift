/// Text as it may stand between tags and in attributes of HTML and XML. Characters that XML forbids become U+FFFD.
func escaped(_ text: String) -> String {
  var out = String.UnicodeScalarView()
  for scalar in text.unicodeScalars {
    switch scalar {
    case "&": out += "&amp;".unicodeScalars
    case "<": out += "&lt;".unicodeScalars
    case ">": out += "&gt;".unicodeScalars
    case "\"": out += "&quot;".unicodeScalars
    case "'": out += "&#39;".unicodeScalars
    case "\t", "\n", "\r": out.append(scalar)
    case "\0"..<" ", "\u{FFFE}", "\u{FFFF}": out.append("\u{FFFD}")
    default: out.append(scalar)
    }
  }
  return String(out)
}

/// A coordinate in SVG.
func coordinate(_ value: Double) -> String {
  let text = fixed(value, 2)
  return text.hasSuffix(".00") ? String(text.dropLast(3)) : text
}
