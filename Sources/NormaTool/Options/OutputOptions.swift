import ArgumentParser

/// Where the results go.
struct OutputOptions: ParsableArguments {
  @Option(help: ArgumentHelp("Folder for the results; default: runs/COMMAND-DATE-TIME.", valueName: "folder"))
  var output: String?

  @Flag(
    help: ArgumentHelp(
      "Replace an earlier run's results, report, charts, histories, event files, weights, predictions and overlays in the "
        + "output folder."))
  var overwrite = false

  @Flag(
    help: ArgumentHelp(
      "Go on with the run in --output: what it finished is kept, the rest is trained. Norms, seeds, batch sizes and "
        + "learning rates may be more than before; all else must be equal."))
  var resume = false

  func validate() throws {
    if resume, overwrite { throw ValidationError("--resume keeps what --overwrite would replace: give one of them.") }
    if resume, output == nil { throw ValidationError("--resume needs the --output of the run to go on with.") }
    if output?.isEmpty == true { throw ValidationError("--output must name a folder, got an empty text.") }
  }

  @Flag(help: "Print the results as JSON instead of a table.")
  var json = false
}
