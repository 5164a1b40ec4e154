import NormaRecords

/// What pages are made of: HTML that is also well-formed XML, in one file, without scripts.
protocol PageParts {}

extension PageParts {
  typealias Section = (id: String, title: String, body: String)

  /// A whole page.
  /// - Parameters:
  ///   - subtitle: HTML.
  ///   - skip: the section that a keyboard gets to at once.
  ///   - footer: HTML.
  func document(
    title: String, heading: String, subtitle: String, skip: String, sections: [Section], footer: String
  ) -> String {
    let skipped = sections.first { $0.id == skip }?.title.lowercased() ?? skip
    return """
      <!DOCTYPE html>
      <html lang="en">
      <head>
      <meta charset="utf-8"/>
      <meta name="viewport" content="width=device-width, initial-scale=1"/>
      <meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; img-src data:"/>
      <title>\(escaped(title))</title>
      <style>
      \(PageStyle.text)</style>
      </head>
      <body>
      <a class="skip" href="#\(skip)">Skip to the \(escaped(skipped))</a>
      <header>
      <h1>\(escaped(heading))</h1>
      <p>\(subtitle)</p>
      <nav aria-label="Contents"><ul>
      \(sections.map { "<li><a href=\"#\($0.id)\">\(escaped($0.title))</a></li>" }.joined(separator: "\n"))
      </ul></nav>
      </header>
      <main>
      \(sections.map { section($0.id, $0.title, $0.body) }.joined(separator: "\n"))
      </main>
      <footer><p>\(footer)</p></footer>
      </body>
      </html>

      """
  }

  func section(_ id: String, _ title: String, _ body: String) -> String {
    "<section id=\"\(id)\" aria-labelledby=\"\(id)-heading\">\n<h2 id=\"\(id)-heading\">\(escaped(title))</h2>\n\(body)\n</section>"
  }

  func note(_ text: String) -> String { "<p class=\"note\">\(escaped(text))</p>\n" }

  func figures(_ charts: [Chart]) -> String {
    "<div class=\"charts\">\n" + charts.map { "<figure>\($0.inline)</figure>\n" }.joined() + "</div>\n"
  }

  /// A number with all its digits beside those that are shown; "–" for nothing.
  func value(_ value: Double?, _ path: String, _ shown: String) -> String {
    guard let value else { return "–" }
    let whole = Int(exactly: value).map(String.init)
    return "<span data-path=\"\(escaped(path))\" data-value=\"\(whole ?? "\(value)")\">\(escaped(shown))</span>"
  }

  func spread(_ spread: SpreadRecord?, _ path: String, _ digits: Int) -> String {
    guard let spread else { return "–" }
    return value(spread.mean, "\(path).mean", fixed(spread.mean, digits))
      + (spread.halfWidth.map { " ± " + value($0, "\(path).halfWidth", fixed($0, digits)) } ?? "")
  }

  /// A table in a box that scrolls by itself; cells are HTML.
  func table(
    _ caption: String, _ header: [String], _ rows: [[String]], marked: Int? = nil, isList: Bool = false
  )
    -> String
  {
    let head = header.map { "<th scope=\"col\">\($0)</th>" }.joined()
    let body = rows.enumerated().map { index, row in
      "<tr\(index == marked ? " class=\"winner\"" : "")><th scope=\"row\"><span>\(row.first ?? "")</span></th>"
        + row.dropFirst().map { "<td>\($0)</td>" }.joined() + "</tr>"
    }
    return """
      <div class="scroll" tabindex="0" role="region" aria-label="\(escaped(caption))">
      <table\(isList ? " class=\"facts\"" : "")><caption><span>\(escaped(caption))</span></caption>
      <thead><tr>\(head)</tr></thead>
      <tbody>
      \(body.joined(separator: "\n"))
      </tbody></table>
      </div>

      """
  }
}
