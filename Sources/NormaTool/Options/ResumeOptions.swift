import ArgumentParser

/// How a run is begun or gone on with.
struct ResumeOptions: ParsableArguments {
  @Option(
    help: ArgumentHelp(
      "Take options from a YAML file with their names as keys, such as the config.yaml of a run; options on the command line "
        + "override it.", valueName: "file"), completion: .file(extensions: ["yaml", "yml"]))
  var config: String?

  @Option(
    help: ArgumentHelp(
      "Go on with the run in this folder: what it finished is kept, an interrupted training goes on from its checkpoint, the "
        + "rest is trained. Options that are not given are the run's. Norms, seeds, batch sizes and learning rates may be more "
        + "than before; all else must be equal.", valueName: "folder"), completion: .directory)
  var resume: String?

  @Option(
    help: ArgumentHelp(
      "A checkpoint is written after every epoch, and inside one after so much time; 0: after every step.",
      valueName: "minutes"))
  var checkpointMinutes = 10.0

  func validate() throws {
    guard checkpointMinutes >= 0, checkpointMinutes.isFinite else {
      throw ValidationError("--checkpoint-minutes must be at least 0, got \(checkpointMinutes).")
    }
    if resume?.isEmpty == true { throw ValidationError("--resume must name the folder of a run, got an empty text.") }
    if resume != nil, config != nil {
      throw ValidationError("--resume takes the options of the run: leave out --config.")
    }
  }
}
