import Foundation
import NormaRecords
import NormaReport
import TestSupport
import Testing

private let small = [
  "--width", "2", "--crop", "32", "--epochs", "2", "--samples-per-epoch", "3", "--dropout", "0.1", "--threads", "1",
  "--synthetic-size", "48", "--synthetic-slices", "4", "--val-slices", "1",
]

/// A browser without a window, to see pages as a reader does.
private enum Browser {
  static let path = ["chromium", "chromium-browser", "google-chrome"].lazy.compactMap { name in
    (ProcessInfo.processInfo.environment["PATH"] ?? "").split(separator: ":").map { "\($0)/\(name)" }
      .first { FileManager.default.isExecutableFile(atPath: $0) }
  }.first

  /// The document after loading, as HTML, and what was written to the console.
  static func load(_ page: String) throws -> (document: String, console: [Substring]) {
    let scratch = try TemporaryFolder()
    let outcome = try Tool.run(
      [
        "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
        "--user-data-dir=\(scratch.path("profile"))",
        "--enable-logging=stderr", "--dump-dom", "file://\(page)",
      ], executable: URL(fileURLWithPath: path ?? "/"))
    #expect(outcome.status == 0)
    return (outcome.output, outcome.errors.split(separator: "\n").filter { $0.contains(":CONSOLE") })
  }
}

@Suite struct ReportTests {
  @Test func comparisonsLeaveAReportThatCanBeMadeAgain() throws {
    let folder = try TemporaryFolder()
    let run = folder.path("run")
    func compare(_ norms: String, _ more: [String] = []) throws {
      let outcome = try Tool.run(
        ["compare", "--norms", norms, "--seeds", "2", "--test-slices", "1", "--output", run] + small + more)
      #expect(outcome.status == 0, "\(outcome.errors)")
    }
    try compare("switchable,none")
    let page = try String(contentsOfFile: "\(run)/report.html", encoding: .utf8)
    let charts = try FileManager.default.contentsOfDirectory(atPath: "\(run)/charts").sorted()
    #expect(
      charts == [
        "memory-batch1.svg", "score-batch1.svg", "shares-switchable-batch1.svg", "step-batch1.svg",
        "training-loss-batch1.svg", "validation-accuracy-batch1.svg", "validation-loss-batch1.svg",
      ])
    #expect(page.contains("4 trainings finished"))
    #expect(page.contains("alt=\"Slice 3 with the errors of switchable in colour\""))

    try FileManager.default.removeItem(atPath: "\(run)/report.html")
    let again = try Tool.run(["report", run, "--charts", folder.path("charts")])
    #expect(again.status == 0, "\(again.errors)")
    #expect(try String(contentsOfFile: "\(run)/report.html", encoding: .utf8) == page)
    #expect(try FileManager.default.contentsOfDirectory(atPath: folder.path("charts")).sorted() == charts)

    // The command on the page gives the same losses.
    let block = try #require(page.firstMatch(of: /<code>(norma compare[^<]*)<\/code>/)?.1)
    let words = block.replacing("\\\n", with: " ").split(whereSeparator: \.isWhitespace).dropFirst().map(String.init)
    let repeated = try Tool.run(words + ["--output", folder.path("again")])
    #expect(repeated.status == 0, "\(repeated.errors)")
    func losses(_ folder: String) throws -> [[Double]] {
      try ResultsFile.read("\(folder)/results.json").runs.map { $0.history.map(\.loss) }
    }
    #expect(try losses(folder.path("again")) == losses(run))

    try compare("none", ["--overwrite"])
    #expect(try FileManager.default.contentsOfDirectory(atPath: "\(run)/charts").allSatisfy { !$0.hasPrefix("shares") })
    #expect(try !String(contentsOfFile: "\(run)/report.html", encoding: .utf8).contains("switchable"))
  }

  @Test func severalRunsBecomeOneReport() throws {
    let folder = try TemporaryFolder()
    for (norm, more) in [("none", []), ("layer", []), ("batch", ["--optimizer", "sgd"])] {
      let outcome = try Tool.run(["train", "--norm", norm, "--output", folder.path(norm)] + small + more)
      #expect(outcome.status == 0, "\(outcome.errors)")
    }
    let (page, both) = (folder.path("both.html"), [folder.path("none"), folder.path("layer/results.json")])
    let outcome = try Tool.run(["report"] + both + ["--output", page])
    #expect(outcome.status == 0, "\(outcome.errors)")
    let text = try String(contentsOfFile: page, encoding: .utf8)
    #expect(text.contains("2 trainings finished"))
    for norm in ["none", "layer"] { #expect(text.contains("with the errors of \(norm) in colour")) }

    let other = try Tool.run(["report"] + both + [folder.path("batch"), "--output", page])
    #expect(other.status != 0)
    #expect(other.errors.contains("--optimizer adam and sgd"))
    #expect(try Tool.run(["report"] + both + [both[0], "--output", page]).errors.contains("leave one of the runs out"))
    #expect(try Tool.run(["report", folder.path("nothing")]).errors.contains("give the folder of a run"))
    #expect(try Tool.run(["report", both[1], "--output", both[1]]).errors.contains("ends in .html"))
    #expect(try String(contentsOfFile: page, encoding: .utf8) == text, "nothing is written where something is wrong")
  }

  @Test(.enabled(if: Browser.path != nil, "needs chromium, chromium-browser or google-chrome"))
  func aBrowserShowsThePage()
    throws
  {
    let folder = try TemporaryFolder()
    let outcome = try Tool.run(
      [
        "compare", "--norms", "none,switchable,switchable:instance+layer+group(2)", "--batch-sizes", "1,3", "--output",
        folder.path("run"),
      ] + small)
    #expect(outcome.status == 0, "\(outcome.errors)")
    let page = folder.path("run/report.html")
    let (document, console) = try Browser.load(page)
    #expect(console.isEmpty, "\(console)")
    #expect(document.contains("id=\"limits-heading\""))
    let json = try Data(contentsOf: folder.url.appendingPathComponent("run/results.json"))
    let numbers = try pageNumbers(document, json: json)
    #expect(numbers.count > 50)
    #expect(numbers.strangers.isEmpty, "\(numbers.strangers)")

    // A frame as wide as a phone, and how wide the page in it is.
    let html = try String(contentsOfFile: page, encoding: .utf8)
    let frame = """
      <!DOCTYPE html><body><iframe width="390" height="844" style="border:0" srcdoc="\(attribute(html))"></iframe><script>
      onload = () => {
        const root = document.querySelector("iframe").contentDocument.documentElement
        document.body.innerHTML = `<p>${root.clientWidth} ${root.scrollWidth} ${root.querySelectorAll("svg.chart").length}</p>`
      }</script>
      """
    let phone = folder.path("phone.html")
    try Data(frame.utf8).write(to: URL(fileURLWithPath: phone))
    let sizes = try #require(Browser.load(phone).document.firstMatch(of: /<p>(\d+) (\d+) (\d+)<\/p>/))
    #expect(try #require(Int(sizes.1)) <= 390 && Int(sizes.1)! > 350)
    #expect(Int(sizes.2)! <= Int(sizes.1)!, "the page is wider than the screen")
    #expect(Int(sizes.3)! > 13)
  }

  private func attribute(_ text: String) -> String {
    text.replacing("&", with: "&amp;").replacing("\"", with: "&quot;")
  }
}
