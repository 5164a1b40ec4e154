#if canImport(FoundationEssentials)
  import FoundationEssentials
#else
  import Foundation
#endif

import ArgumentParser
import NormaData
import NormaExperiment
import NormaFormats
import NormaNormalization
import NormaRecords
import NormaReport
import NormaTensor

struct ClaimsCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "claims",
    abstract: "Put textbook claims about normalization to the test by small repeated experiments.",
    discussion: """
      Every claim is answered held, did not hold or undecided, by 95 % intervals over seeds. Without --images and --labels the \
      networks tell gratings of four directions apart; with them, the class in the middle of patches.
      \(Claim.all.map { "  \($0.name): \($0.statement)" }.joined(separator: "\n"))
      """)

  @Flag(help: "5 seeds and short trainings instead of 10 and long ones.")
  var quick = false

  @Option(
    help: ArgumentHelp("Claims to test. (default: all)", valueName: "list"),
    transform: ClaimsCommand.parse)
  var only: [Claim] = Claim.all

  @Option(help: ArgumentHelp("Runs of every experiment. (default: 10, with --quick 5)", valueName: "count"))
  var seeds: Int?

  @Option(help: "The first seed.")
  var seed: UInt64 = 0

  @Option(help: ArgumentHelp("Image stack: a TIFF file, a PNG file or a folder of PNG files.", valueName: "path"))
  var images: String?

  @Option(help: ArgumentHelp("Label stack of the same size.", valueName: "path"))
  var labels: String?

  @Option(help: ArgumentHelp("Threads; the networks are small, so one is fastest.", valueName: "count"))
  var threads = 1

  @OptionGroup(title: "Output") var output: OutputOptions
  @OptionGroup(title: "Messages") var logOptions: LogOptions

  static func parse(_ text: String) throws -> [Claim] {
    let names = try commaSeparated(text)
    guard Set(names).count == names.count else { throw ValidationError("'\(text)' names a claim twice") }
    return try names.map { name in
      guard let claim = Claim.all.first(where: { $0.name == name }) else {
        throw ValidationError(
          "unknown claim '\(name)'; the known ones are \(Claim.all.map(\.name).joined(separator: ", "))")
      }
      return claim
    }
  }

  func validate() throws {
    guard !only.isEmpty else { throw ValidationError("--only must name a claim, got an empty list.") }
    guard (images == nil) == (labels == nil) else {
      throw ValidationError("--images and --labels belong together: give both, or neither for gratings.")
    }
    if let seeds, !(2...1000).contains(seeds) { throw ValidationError("--seeds must be in 2…1000, got \(seeds).") }
    guard (1...4096).contains(threads) else { throw ValidationError("--threads must be in 1…4096, got \(threads).") }
  }

  func run() throws {
    logOptions.start()
    try Runtime.check()
    _ = try InstructionSet.current.get()
    TensorMemory.install(.keepingFreedBlocks)
    Runtime.threads = threads
    let started = Date()
    let data: ClaimData
    if let images, let labels {
      data = try .patches(
        of: SegmentationDataset(images: ImageFile.read(images), labels: ImageFile.read(labels), name: images))
    } else {
      data = .gratings
    }
    let setting = ClaimSetting(data: data, budget: quick ? .quick : .full)
    let chosen = (0..<UInt64(seeds ?? setting.budget.seeds)).map { seed &+ $0 }
    var record = ClaimsRecord(
      started: started.formatted(.iso8601),
      environment: EnvironmentRecord(
        norma: Norma.version, libtorch: Runtime.version, processor: Processor.name, threads: Runtime.threads,
        device: "cpu"),
      configuration: [
        "quick": "\(quick)", "only": only.map(\.name).joined(separator: ","), "seeds": "\(chosen.count)",
        "seed": "\(seed)",
        "threads": "\(threads)",
      ].merging([("images", images), ("labels", labels)].compactMap { key, value in value.map { (key, $0) } }) { $1 },
      data: data.name)
    let folder = try ClaimsFolder(output, started: started)
    let progress = LineProgress()
    for (index, claim) in only.enumerated() {
      let found = try claim.run(setting, seeds: chosen) { done in
        progress.show("\(index + 1)/\(only.count) \(claim.name): seed \(done) of \(chosen.count)")
      }
      progress.finish("\(claim.name): \(found.answer.rawValue) (\(fixed(found.seconds, 1)) s)")
      record.claims.append(found)
      try folder.write(record)
    }
    print(output.json ? try jsonText(of: record) : ClaimsTable.text(record) + "\n\nResults: \(folder.path)")
  }
}

/// The folder that claims leave their results in.
private struct ClaimsFolder {
  let path: String

  init(_ options: OutputOptions, started: Date) throws {
    path = options.output ?? OutputFolder.defaultPath("claims", started)
    if Folder.exists("\(path)/claims.json"), !options.overwrite {
      throw ToolError(
        "'\(path)' already holds answers to claims; choose another --output, or pass --overwrite to replace them")
    }
    try Folder.make("\(path)/charts")
  }

  func write(_ record: ClaimsRecord) throws {
    try AtomicFile.write(jsonText(of: record) + "\n", to: "\(path)/claims.json")
    let page = ClaimsPage(record)
    try AtomicFile.write(page.html, to: "\(path)/claims.html")
    for chart in page.charts { try AtomicFile.write(chart.svg, to: "\(path)/charts/\(chart.name).svg") }
  }
}
